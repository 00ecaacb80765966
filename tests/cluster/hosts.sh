#!/bin/bash
# hosts.sh COMMAND FOLDER ...: hosts made of name spaces on this machine, for tests (root). Each has its own network, name,
# processes, mounts and shared memory; a bridge in a name space of its own joins them, so that nothing touches the machine's
# own network. FOLDER keeps what is needed to reach them.
#   up FOLDER N             makes h0 to h(N-1), and login, where mpirun is started
#   exec FOLDER HOST WORDS  runs a command on a host; on login in the place of this process
#   cut FOLDER HOST         pulls its cable; join puts it back
#   down FOLDER             ends them and every process on them
# Called as rsh, by a link of that name in FOLDER, it is what mpirun takes for ssh: HOST WORDS. It reaches no host whose cable is
# out, nor any from a login whose cable is out.
set -eu
network=10.77.0

id_of() { cat "$folder/$1/pid"; }
on_switch() { nsenter -t "$(cat "$folder/switch")" -n -- "$@"; }
enter() {
  local host=$1 processes=-p
  shift
  [ "$host" != login ] || processes=  # one may not enter the processes of another and come back: mpirun stays outside
  # shellcheck disable=SC2086,SC2016  # words; expanded by the inner shell
  exec nsenter -t "$(id_of "$host")" -n -u -m -i $processes -- /bin/sh -c 'cd "$0" && exec "$@"' "$PWD" "$@"
}

# add_host NAME ADDRESS WORDS: the words are unshare's.
add_host() {
  local host=$1 address=$2 holder id place=$folder/$1
  shift 2
  mkdir -p "$place"
  # shellcheck disable=SC2016  # expanded by the inner shell
  unshare -n -u -m -i "$@" sh -c '
    hostname "$1" && mount --make-rprivate / && mount --bind "$2/names" /etc/hosts &&
      mount -t tmpfs -o size=1g tmpfs /dev/shm && ip link set lo up && touch "$2/$1/ready"
    trap : HUP TERM INT
    while :; do sleep 3600 & wait $!; done' host "$host" "$folder" </dev/null >/dev/null 2>&1 &
  holder=$!
  echo $holder >"$place/holder"
  for _ in $(seq 200); do
    [ ! -e "$place/ready" ] || break
    sleep .05
  done
  [ -e "$place/ready" ]
  id=$(cut -d ' ' -f 1 "/proc/$holder/task/$holder/children")
  echo "$id" >"$place/pid"
  on_switch ip link add "port-$host" type veth peer name eth0 netns "$id"
  on_switch ip link set "port-$host" master bridge up
  nsenter -t "$id" -n ip addr add "$address/24" dev eth0
  nsenter -t "$id" -n ip link set eth0 up
}

up() {
  local count=$1 i
  mkdir -p "$folder"
  ln -sf "$script" "$folder/rsh"
  unshare -n setsid sleep infinity </dev/null >/dev/null 2>&1 &
  echo $! >"$folder/switch"
  for _ in $(seq 100); do
    [ "$(readlink "/proc/$!/ns/net")" = "$(readlink /proc/self/ns/net)" ] || break
    sleep .05
  done
  [ "$(readlink "/proc/$!/ns/net")" != "$(readlink /proc/self/ns/net)" ]
  on_switch ip link set lo up
  on_switch ip link add bridge type bridge
  on_switch ip link set bridge up
  {
    echo 127.0.0.1 localhost
    for ((i = 0; i < count; i++)); do echo "$network.$((i + 1)) h$i"; done
    echo $network.100 login
  } >"$folder/names"
  for ((i = 0; i < count; i++)); do add_host "h$i" "$network.$((i + 1))" -p --fork --kill-child --mount-proc; done
  add_host login $network.100 --fork
}

down() {
  local file
  for file in "$folder"/*/pid "$folder"/*/holder "$folder/switch"; do
    [ ! -e "$file" ] || kill -9 "$(cat "$file")" 2>/dev/null || :
  done
}

script=$(readlink -f "$0")
if [ "$(basename "$0")" = rsh ]; then
  folder=$(cd "$(dirname "$0")" && pwd)
  while [ "${1#-}" != "$1" ]; do shift; done
  host=$1
  shift
  if [ -e "$folder/$host/cut" ] || [ -e "$folder/login/cut" ]; then
    echo "rsh: $host cannot be reached" >&2
    exit 255
  fi
  enter "$host" /bin/sh -c "$*"
fi

command=$1 folder=$2
shift 2
case $command in
  up) up "$@" ;;
  exec) enter "$@" ;;
  cut) on_switch ip link set "port-$1" down && touch "$folder/$1/cut" ;;
  join) on_switch ip link set "port-$1" up && rm "$folder/$1/cut" ;;
  down) down ;;
  *) sed -n 2,13p "$script" >&2 && exit 2 ;;
esac
