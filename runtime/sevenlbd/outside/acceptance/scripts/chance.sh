# What differs between two guests, and what must not be over.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
echo "random=$(cat /proc/sys/kernel/random/uuid)"
echo "boot=$(cat /proc/sys/kernel/random/boot_id)"
ip -4 -o addr show | sed -n 's/.*inet 169\.254\.100\.15.* valid_lft \([0-9]*\)sec.*/lease=\1/p;s/.*inet 169\.254\.100\.15.* valid_lft forever.*/lease.end=never/p'
