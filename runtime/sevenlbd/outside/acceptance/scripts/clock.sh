# What time it is, in seconds since the epoch.
echo "seconds=$(date +%s.%N)"
