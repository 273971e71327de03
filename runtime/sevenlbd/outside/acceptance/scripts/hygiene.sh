# What an image must not hold.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
for file in /preseed.cfg /root/preseed.cfg /root/anaconda-ks.cfg /root/original-ks.cfg /var/log/installer/cdebconf/questions.dat \
    /var/lib/cloud/seed/nocloud/user-data /var/log/installer/autoinstall-user-data; do
    [ ! -e "$file" ] || echo "answer_file=$file"
done
echo answer_file.asked=1
# shadow(5): root's second field; `*` and `!` begin what nobody can log in with.
secret=$(sed -n 's/^root:\([^:]*\):.*/\1/p' /etc/shadow)
case $secret in
'*'* | '!'*) ;;
'') echo "password=root has none, and may log in without" ;;
*) echo "password=root can log in with one" ;;
esac
for file in /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys /root/.netrc /home/*/.netrc /home/*/.git-credentials; do
    [ ! -s "$file" ] || echo "password=$file"
done
echo password.asked=1
if command -v journalctl >/dev/null; then
    boots=$(journalctl --list-boots --quiet --no-pager 2>/dev/null | wc -l)
    [ "$boots" -lt 2 ] || echo "old_log=the journal has $boots starts"
fi
since=$(stat -c %Y /proc/1)
for file in /var/log/*.log /var/log/syslog /var/log/messages; do
    [ -s "$file" ] || continue
    # Those of packages tell what is installed, and of nobody.
    case $file in
    */alternatives.log | */bootstrap.log | */dpkg.log | */fontconfig.log) continue ;;
    esac
    [ "$(stat -c %Y "$file")" -ge "$since" ] || echo "old_log=$file"
done
echo old_log.asked=1
