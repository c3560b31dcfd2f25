# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
#
# A Debian of its own, as debootstrap makes it, to install into as its administrator
# would.  It has the machine's network, processes of its own and no right to load modules.
# Sourced after lib.bash.

# fresh_unpack <directory>: an empty one
fresh_unpack() {
	local base=$PYM_CACHE/debian-$PYM_SUITE.tar.gz temp mirror
	((EUID == 0)) || die "an administrator's rights are needed inside of the fresh Debian" "run as root"
	unshare --mount --pid --fork true 2>/dev/null || die "there are no namespaces for you here" \
		"run in a virtual machine, or in a container with CAP_SYS_ADMIN"
	apt_use "$PYM_SUITE"
	apt_refresh || die "the package lists cannot be read" "check the network; the log is $apt_dir/update.log"
	lock "debian-$PYM_SUITE"
	if [[ ! -e $base ]]; then
		rm -rf "$PYM_CACHE/.debian."*
		temp=$(mktemp -d "$PYM_CACHE/.debian.XXXXXX")
		mirror=$(awk -v suite="$PYM_SUITE" '$(NF - 1) == suite { print $(NF - 2); exit }' "$apt_dir/sources.list")
		progress "a fresh Debian $PYM_SUITE (once)" "$PYM_CACHE/debootstrap.log" no_status \
			debootstrap --variant=minbase --arch=amd64 "$PYM_SUITE" "$temp/root" "$mirror" ||
			die "debootstrap has failed" "check the network; the log is $PYM_CACHE/debootstrap.log"
		rm -f "$temp"/root/var/cache/apt/archives/*.deb
		tar -C "$temp/root" -czf "$temp/base" .
		mv "$temp/base" "$base"
		rm -rf "$temp"
	fi
	unlock
	fresh=$1
	rm -rf --one-file-system "$fresh"
	mkdir -p "$fresh" "$PYM_CACHE/debs-$PYM_SUITE/partial"
	tar -C "$fresh" -xzf "$base"

	cp "$apt_dir/sources.list" "$fresh/etc/apt/sources.list"
	{
		apt-config dump | grep -E '^Acquire::https?::Proxy' || true
		echo 'APT::Keep-Downloaded-Packages "true";'
		echo 'APT::Install-Recommends "false";'
		echo 'APT::Sandbox::User "root";'
	} >"$fresh/etc/apt/apt.conf.d/90fresh"
	cp -L /etc/resolv.conf /etc/hosts "$fresh/etc"
}

# inside <command ...>: by root of the fresh Debian.  What it mounts goes with it, and it
# goes when this script goes.
inside() {
	# shellcheck disable=SC2016 # for the shell in the namespaces
	setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --propagation private bash -euc '
		root=$1 debs=$2
		shift 2
		mount -t proc proc "$root/proc"
		mount -t devpts devpts "$root/dev/pts"
		mount --bind "$debs" "$root/var/cache/apt/archives"
		exec setpriv --bounding-set=-sys_module chroot "$root" \
			env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
			LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive http_proxy="${http_proxy-}" \
			https_proxy="${https_proxy-}" "$@"' bash "$fresh" "$PYM_CACHE/debs-$PYM_SUITE" "$@"
}
