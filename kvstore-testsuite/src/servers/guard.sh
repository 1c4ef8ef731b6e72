# Runs a server, and ends it and removes its folder when the process it was started for is gone,
# however that process ended. It is the server's parent, so that no moment is left unguarded.
#
# Arguments: the process to watch, the folder of the run, the server's own folder (in that of the
# run, or the same), a container to remove (or nothing), and the server's command line.
watched=$1 run=$2 folder=$3 container=$4
shift 4

# From the first: the group of a server that is halted gets a hangup when the test's process ends.
trap '' HUP INT TERM
(
    # The server hears signals again, and its process id is noted; `exec` keeps that.
    (
        trap - HUP INT TERM
        exec sh -c 'echo $$ >"$0/pid"; exec "$@"' "$folder" "$@" >"$folder/log" 2>&1
    )
    echo $? >"$folder/ended"
) &
while [ -d "$folder" ] && ! [ -s "$folder/pid" ]; do
    sleep 0.01
done
server=$(cat "$folder/pid")

# A process that ended, but whose parent did not ask how, still takes signals: hence its state.
while kill -0 "$watched" 2>/dev/null && ! grep -qs '^State:.[ZX]' "/proc/$watched/status"; do
    sleep 0.1
done

[ -e "$folder/ended" ] || kill -KILL "$server"
wait
[ -z "$container" ] || docker rm --force --volumes "$container"
# What the server has left elsewhere: it is killed, and cannot do it.
while read -r file; do rm -f "$file"; done 2>/dev/null <"$folder/leftovers"
rm -rf "$folder"
# What the run's processes noted; the folder itself goes with the last of the run's servers.
rm -f "$run"/*
rmdir "$run"
