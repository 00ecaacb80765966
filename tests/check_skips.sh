#!/bin/sh
# check_skips.sh JUNIT.xml: fails when ctest skipped, disabled or did not run a test that tests/allowed_skips.txt does
# not name with its reason, or when it ran no test at all.
report=${1:?usage: check_skips.sh JUNIT.xml}
allowed=$(dirname "$0")/allowed_skips.txt
[ -r "$report" ] || { echo "check_skips: cannot read $report" >&2; exit 2; }

# ctest writes one element a line; a test that did not run is status="notrun" or "disabled".
names=$(sed -n 's/.*<testcase name="\([^"]*\)".* status="\(notrun\|disabled\)".*/\1/p' "$report")
ran=$(grep -c '<testcase .* status="\(run\|fail\)"' "$report")
[ "$ran" -gt 0 ] || { echo "check_skips: no test ran" >&2; exit 1; }

failed=0
IFS='
'
for name in $names; do
  reason=
  while read -r line; do
    pattern=${line%%[ 	]*}
    case $line in '' | '#'*) continue ;; esac
    case $name in
      $pattern) reason=${line#"$pattern"} ;;
    esac
  done <"$allowed"
  if [ -n "$reason" ]; then
    echo "skipped as allowed: $name ($(echo "$reason" | sed 's/^[ 	]*//'))"
  else
    echo "check_skips: $name was skipped and is not on $allowed" >&2
    failed=1
  fi
done
exit $failed
