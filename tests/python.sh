#!/bin/sh
# Runs Python 3 with h5py and numpy: $TALLY_PYTHON, python3 or Debian's own. Exits 77 (skipped) where none has them.
for python in "${TALLY_PYTHON:-python3}" python3 /usr/bin/python3; do
  if "$python" -c 'import h5py, numpy' >/dev/null 2>&1; then
    PYTHONDONTWRITEBYTECODE=1 exec "$python" "$@"
  fi
done
echo "SKIPPED: no Python 3 with h5py and numpy; install python3-h5py or set TALLY_PYTHON" >&2
exit 77
