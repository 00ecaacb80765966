#!/bin/sh
# install.sh FOLDER: makes a virtual environment in FOLDER for each file of bench/peers/requirements. Says SKIPPED of those that
# cannot be made here. TALLY_PYTHON names the Python (3.9 to 3.11) of the environments.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
python=${TALLY_PYTHON:-python3}

# environment NAME MODULE...: an environment whose modules can be imported.
environment() {
  name=$1
  shift
  venv=$folder/$name
  rm -f "$venv/ready"
  if { [ -x "$venv/bin/pip" ] || "$python" -m venv "$venv"; } &&
    "$venv/bin/pip" install --quiet --only-binary :all: -r "$here/requirements/$name.txt" &&
    "$venv/bin/python" -c "import $*"; then
    touch "$venv/ready"
  else
    echo "SKIPPED: the peers of bench/peers/requirements/$name.txt cannot be installed here"
  fi
}

environment sklearn sklearn
environment hmm hmmlearn.hmm, dynamax
