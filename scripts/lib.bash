# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034
#
# What the scripts share: messages, progress, locks, apt.  Sourced, not run.

set -euo pipefail

# make test and its like must not hand their flags down to the builds in here
unset MAKEFLAGS MFLAGS MAKELEVEL

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(dirname "$scripts")
# shellcheck source=scripts/config.defaults
. "$scripts/config.defaults"

# Logs and results of runs, one directory for each checkout
runs=$PYM_CACHE/run-$(printf '%s' "$top" | sha256sum | cut -c 1-8)

# Everything is told on stderr; stdout belongs to results.
say() {
	printf '%s\n' "$*" >&2
}

# die <what went wrong> [<what to do next> ...]
die() {
	printf '%s: error: %s\n' "${0##*/}" "$1" >&2
	shift
	[[ $# -eq 0 ]] || printf '    %s\n' "$@" >&2
	exit 1
}

clock() {
	printf '%d:%02d' $((SECONDS / 60)) $((SECONDS % 60))
}

# progress <label> <log file> <status function> <command ...>
# Runs the command with its output in the log file; tells how far it is every
# ten seconds.  The log's end is shown if it fails.
progress() {
	local label=$1 log=$2 status=$3 start=$SECONDS pid rc=0 tick=0
	shift 3
	mkdir -p "$(dirname "$log")"
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	# A background job does not hear Ctrl-C.
	trap 'kill "$pid" 2>/dev/null; exit 130' INT TERM
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.5
		tick=$((tick + 1))
		if ((tick % 20 == 0)); then
			say "  $(printf '%4d s' $((SECONDS - start)))  $label$("$status")"
		fi
	done
	wait "$pid" || rc=$?
	trap - INT TERM
	if ((rc)); then
		say "--- end of $log"
		tail -n 20 "$log" >&2
		say "---"
	fi
	return "$rc"
}

no_status() {
	:
}

# Only one process at a time works on <name> in the cache.
lock_fds=()
lock() {
	local fd
	mkdir -p "$PYM_CACHE"
	exec {fd}>"$PYM_CACHE/.lock-$1"
	lock_fds+=("$fd")
	if ! flock -n "$fd"; then
		say "waiting for another run that is preparing $1 ..."
		flock "$fd"
	fi
}

# The last one that was taken.  Lock files are inherited by children; long-lived ones
# should not hold them.
unlock() {
	local fd=${lock_fds[-1]}
	exec {fd}>&-
	unset 'lock_fds[-1]'
}

# The version of pymalloc
version() {
	sed -n 's/^PYM_VERSION := //p' "$top/Kbuild"
}

# may_write <directory> <what to do if not>: it, or what it would be made in
may_write() {
	local dir=$1
	[[ $dir == /* ]] || die "$dir is not an absolute name" "for example: $PWD/$dir"
	while [[ ! -e $dir ]]; do dir=$(dirname "$dir"); done
	[[ -d $dir && -w $dir ]] || die "you may not write into $dir" "$2"
}

need() {
	local group=$1 tool
	shift
	for tool; do
		command -v "$tool" >/dev/null ||
			die "$tool is not installed" "run: scripts/setup $group"
	done
}

#
# A private apt: the machine's own Debian archive, with the security suite
# that goes with it, or the backports of the next release, each with its own
# lists.  Nothing of the system's apt configuration is changed, and nothing is
# installed through it: it is used to download and unpack kernels.
#

# series_suite <kernel series>: the release it is taken from
series_suite() {
	if [[ $1 == [1-6].* ]]; then
		echo "$PYM_SUITE"
	else
		echo "$PYM_NEXT_SUITE"
	fi
}

# series_advice <kernel series>: what to do if there is no such kernel
series_advice() {
	if [[ $(series_suite "$1") == "$PYM_SUITE" ]]; then
		printf '%s\n' "it is in Debian's security suite; add this line to /etc/apt/sources.list:" \
			"deb <your mirror>/debian-security $PYM_SUITE-security main" \
			"then run: apt-get update"
	else
		printf '%s\n' "it is looked for in $PYM_NEXT_SUITE-backports, beside the $PYM_SUITE archive this machine's apt uses:" \
			"if that mirror does not carry it, set PYM_STOCK_SERIES to what it has"
	fi
	echo "the log is $apt_dir/update.log"
}

# apt_use <suite>: what the functions below work on
apt_use() {
	apt_suite=$1
	apt_dir=$PYM_CACHE/apt-$1
	apt_options=(
		-o "Dir::Etc::sourcelist=$apt_dir/sources.list"
		-o "Dir::Etc::sourceparts=/dev/null"
		-o "Dir::State::lists=$apt_dir/lists"
		-o "Dir::Cache=$apt_dir/cache"
		-o "Dir::Cache::archives=$apt_dir/archives"
		-o "APT::Sandbox::User=root"
		-o "Acquire::Retries=3"
		-o "APT::Get::List-Cleanup=1"
	)
}
apt_use "$PYM_SUITE"

apt_private() {
	local tool=$1
	shift
	"$tool" "${apt_options[@]}" "$@"
}

# "<archive> <suite>" of every Debian source configured on this machine
apt_configured() {
	apt-get update --print-uris 2>/dev/null |
		sed -nE "s,^'([^']*)/dists/([^']*)/InRelease'.*,\1 \2,p" |
		grep -E '/debian(-security)?/* ' | sort -u
}

apt_write_sources() {
	local configured archive suite keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	local option="arch=amd64" security=0 main=

	configured=$(apt_configured) || true
	[[ -n $configured ]] || die "no Debian archive is configured for apt on this machine" \
		"add one to /etc/apt/sources.list, for example:" \
		"deb <your mirror>/debian $PYM_SUITE main" \
		"deb <your mirror>/debian-security $PYM_SUITE-security main"
	[[ ! -e $keyring ]] || option+=" signed-by=$keyring"

	mkdir -p "$apt_dir/lists/partial" "$apt_dir/archives/partial" "$apt_dir/cache"
	{
		echo "# written by pymalloc's scripts; not used by the system"
		while read -r archive suite; do
			case $suite in
			"$PYM_SUITE")
				main=$archive
				[[ $apt_suite != "$PYM_SUITE" ]] || echo "deb [$option] $archive $suite main" ;;
			"$PYM_SUITE-security")
				security=1
				[[ $apt_suite != "$PYM_SUITE" ]] || echo "deb [$option] $archive $suite main" ;;
			esac
		done <<<"$configured"
		if [[ $apt_suite != "$PYM_SUITE" ]]; then
			if [[ -n $main ]]; then
				echo "deb [$option] $main $apt_suite main"
				echo "deb [$option] $main $apt_suite-backports main"
			fi
		elif ((!security)) && [[ -n $main ]]; then
			archive=${main%%/}-security
			say "the $PYM_SUITE-security suite is not configured: reading it from $archive, for these scripts only"
			echo "deb [$option] $archive $PYM_SUITE-security main"
		fi
	} >"$apt_dir/sources.list.new"
	grep -q '^deb' "$apt_dir/sources.list.new" ||
		die "no $PYM_SUITE archive is configured for apt on this machine" \
			"these scripts take their kernels from Debian 12 ($PYM_SUITE); add its archive to /etc/apt/sources.list"
	if ! cmp -s "$apt_dir/sources.list.new" "$apt_dir/sources.list"; then
		rm -f "$apt_dir/updated"
	fi
	mv "$apt_dir/sources.list.new" "$apt_dir/sources.list"
}

# apt_refresh [now]: bring the private lists up to date, if stale or asked to
apt_refresh() {
	lock "apt-$apt_suite"
	[[ -e $apt_dir/sources.list && -e $apt_dir/updated && ${1-} != now ]] || apt_write_sources
	if [[ ${1-} != now && -n $(find "$apt_dir/updated" -mtime "-$PYM_APT_DAYS" 2>/dev/null) ]]; then
		unlock
		return 0
	fi
	if ! progress "reading the package lists of $apt_suite" "$apt_dir/update.log" no_status \
		apt_private apt-get update -o APT::Update::Error-Mode=any; then
		unlock
		return 1
	fi
	touch "$apt_dir/updated"
	unlock
}

# apt_newest <extended regular expression>: "<package> <version>" of the
# newest package with such a name
apt_newest() {
	local name
	name=$(apt_private apt-cache pkgnames linux- | grep -xE "$1" | sort -V | tail -n 1) || return 1
	printf '%s ' "$name"
	apt_private apt-cache show --no-all-versions "$name" | sed -n 's/^Version: //p' | head -n 1
}

# apt_find <extended regular expression>: the same, from lists that are read
# again if nothing is there
apt_find() {
	local answer
	if apt_refresh && answer=$(apt_newest "$1") ||
		{ say "looking again with fresh package lists" && apt_refresh now && answer=$(apt_newest "$1"); }; then
		echo "$answer"
		return
	fi
	return 1
}

# apt_unpack <directory> <package>=<version> ...: download and unpack, install nothing
apt_unpack() {
	local dir=$1 debs
	shift
	mkdir -p "$dir"
	debs=$(mktemp -d "$dir/.debs.XXXXXX")
	if ! (cd "$debs" && progress "downloading $*" "$apt_dir/download.log" no_status \
		apt_private apt-get download "$@"); then
		rm -rf "$debs"
		return 1
	fi
	unpack_debs "$dir" "$debs" || return 1
	rm -rf "$debs"
}

# unpack_debs <directory> <directory with packages>
unpack_debs() {
	local deb
	for deb in "$2"/*.deb; do
		dpkg-deb -x "$deb" "$1" || return 1
	done
}

#
# Building against a kernel.
#

# write_example <directory>: the sources of the example in README.md, the first code block
# of each language
write_example() {
	local fence='```'
	mkdir -p "$1"
	awk -v begin="${fence}c" '$0 == begin { on = 1; next } on && /^```/ { exit } on' "$top/README.md" >"$1/session.c"
	awk -v begin="${fence}make" '$0 == begin { on = 1; next } on && /^```/ { exit } on' "$top/README.md" >"$1/Kbuild"
	[[ -s $1/session.c && -s $1/Kbuild ]] || die "README.md has no c block or no make block" \
		"put the example back into README.md"
}

# kernel_make <kdir> <argument ...>: make in a kernel build directory, with
# the compiler that the kernel was built with.  What the host cannot offer
# comes from another release: fetch-kernel, or with-compiler, leaves its name beside
# the kdir.
kernel_make() {
	local kdir=$1
	shift
	# BTF would need pahole, and is not what is tested.
	set -- -C "$kdir" -j"$PYM_JOBS" CONFIG_DEBUG_INFO_BTF_MODULES= "$@"
	grep -qE '(gcc|clang)-' "$kdir/.kernelvariables" 2>/dev/null || set -- "$@" CC="$PYM_CC"
	if [[ -e $kdir.suite ]]; then
		exec "$scripts/in-chroot" "$(cat "$kdir.suite")" make "$@"
	else
		exec make "$@"
	fi
}
