# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
#
# What the tests have in common: rounds in a guest, of which every check counts.
# Sourced, after lib.bash.

# How many checks so far
passed=0
failed=0

heading() {
	printf '\n[%s] %s\n' "$(clock)" "$*"
}

# result ok|FAIL <name> [<detail>]
result() {
	if [[ $1 == ok ]]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
	printf '  %8s  %-4s  %s%s\n' "" "$1" "$2" "${3:+: $3}"
}

# What must not be in the kernel log.  The module's own reports about its
# callers begin with "pymalloc: misuse:" and are not meant.
trouble='BUG:|WARNING:|Oops|Call Trace:|KASAN|UBSAN|kernel BUG|general protection fault|Kernel panic|Bad page'
trouble+='|unreferenced object|new suspected memory leaks|Kernel memory leak detector disabled'
trouble+='|INFO: possible|possible (circular|recursive|irq lock)|inconsistent lock state|suspicious RCU'
trouble+='|held lock freed|lock held when returning|bad unlock balance|[Ii]nvalid wait context|nested lock was not taken'
trouble+='|locking correctness validator|DEBUG_LOCKS_WARN|sleeping function called|scheduling while atomic'
trouble+='|ODEBUG:|refcount_t:|list_(add|del) corruption|blocked for more than|detected stall|soft lockup|hard LOCKUP'
trouble+='|page allocation failure|double free|Slab corruption|Object (already free|corrupt)'
trouble+='|pymalloc: unloaded.*[1-9][0-9]* (B|bytes)'

# log_is_clean <console.log>: kunit/kasan_kunit.c says before a report which one it
# asks for, and after it that it has it.  In between there must be exactly one of that
# class; its own lines, and no others, are taken for what they are.  What kunit/lose.c
# loses, kmemleak is to find, between two marks of the guest's.
log_is_clean() {
	local lines
	# after the guest's init has started; the boot of a stock kernel under
	# emulation is not our business
	lines=$(sed -n '/PYM START/,$p' "$1" | sed '/PYM LOST BEGIN/,/PYM LOST END/{/new suspected memory leaks/d}' |
		awk -v trouble="$trouble" '
			# a report that names one of ours as its caller is of no use
			/pymalloc: misuse:/ { bad = / caller (__)?pym_[a-z_]+\+.*\[pymalloc\]/ }
			!/pymalloc: misuse:/ { bad = $0 ~ trouble }
			/kasan_kunit: expect / {
				# the last one has no end
				bad = class != ""
				class = $NF
				sub(/\r/, "", class)
				reports = 0
			}
			/kasan_kunit: end/ {
				bad = class == "" || reports != 1 || within
				class = ""
			}
			class != "" && /BUG: KASAN: / && index($0, "BUG: KASAN: " class " in ") {
				bad = reports++ > 0
				within = 1
			}
			class != "" && within && /\] Call Trace:\r?$/ { bad = traces++ > 0 }
			within && /====================/ { within = 0; traces = 0 }
			bad { print NR ":" $0; found = 1 }
			END {
				if (class != "") {
					print NR ": the last report that was asked for has no end"
					found = 1
				}
				exit !found
			}') || return 0
	head -n 12 <<<"$lines" | sed 's/^/            | /'
	return 1
}

# boot_round <name> <image> <mode> <argument of vmtest ...>
boot_round() {
	local name=$1 image=$2 mode=$3 word state rest
	shift 3
	run=$runs/$name
	if "$scripts/vmtest" -i "$image" -m "$mode" -o "$run" "$@"; then
		result ok "guest finished"
	else
		result FAIL "guest finished" "see $run/console.log"
	fi
	while read -r word state rest; do
		[[ $word == check ]] || continue
		result "$state" "$rest"
	done <"$run/verdict"
	if log_is_clean "$run/console.log"; then
		result ok "kernel log is clean"
	else
		result FAIL "kernel log is clean" "see $run/console.log"
	fi
}

# stock_round <name> <kernel headers> <image>: what a user would build, for a stock kernel:
# load, replay recorded allocations, the example in README.md, unload, load again
stock_round() {
	local name=$1 kdir=$2 image=$3 modules example files trace=$runs/trace.bin
	if ! modules=$("$scripts/build-modules" "$kdir"); then
		result FAIL "modules build with W=1, no warning"
		return
	fi
	result ok "modules build with W=1, no warning"
	"$scripts/trace2bin" "$scripts/boot.trace.xz" "$trace" >/dev/null ||
		die "the recorded trace cannot be converted" "record another: make record-trace"
	files=("$modules/pymalloc.ko" "$modules/pymalloc_replay.ko" "$trace:trace.bin")
	if example=$("$scripts/build-example" "$kdir" "$modules" "$runs/example-$name"); then
		result ok "the example in README.md builds outside the tree"
		files+=("$example")
	else
		result FAIL "the example in README.md builds outside the tree"
	fi
	boot_round "$name" "$image" stock "${files[@]}"
}
