# Every CPU busy for $seconds_of_load seconds.
for _ in $(seq "$(nproc)"); do
    timeout "$seconds_of_load" sh -c 'while :; do :; done' &
done
wait
echo done=1
