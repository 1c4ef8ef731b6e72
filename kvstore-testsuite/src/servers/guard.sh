# Runs a server, and ends it and removes its folder when the process it was started for is gone,
# however that process ended. It is the server's parent, so that no moment is left unguarded.
#
# Arguments: the process to watch, the folder to remove, the server's own folder, a container to
# remove (or nothing), and the server's command line.
watched=$1 remove=$2 folder=$3 container=$4
shift 4

(
    # The server's process id, for signals; `exec` keeps it.
    sh -c 'echo $$ >"$0/pid"; exec "$@"' "$folder" "$@" >"$folder/log" 2>&1
    echo $? >"$folder/ended"
) &

# After the start, since a server would inherit it.
trap '' HUP INT TERM

# A process that ended, but whose parent did not ask how, still takes signals: hence its state.
while kill -0 "$watched" 2>/dev/null && ! grep -qs '^State:.[ZX]' "/proc/$watched/status"; do
    sleep 0.1
done

[ -e "$folder/ended" ] || kill -KILL "$(cat "$folder/pid")"
wait
[ -z "$container" ] || docker rm --force --volumes "$container"
rm -rf "$remove"
