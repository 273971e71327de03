# Writes $size MiB that no compression makes smaller ($phase fill), or removes them and gives their room back (free).
PATH=/usr/sbin:/usr/bin:/sbin:/bin
file=/var/tmp/accept-trim
case $phase in
fill) head -c "${size}M" /dev/urandom >"$file" ;;
free) rm -f "$file" && sync && fstrim / ;;
esac && sync && echo "trim.done=$phase"
