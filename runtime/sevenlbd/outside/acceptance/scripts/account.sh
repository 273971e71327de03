# The account that sessions log in with: $account.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
if ! number=$(id -u -- "$account" 2>/dev/null); then
    echo account.enabled=no
    exit 0
fi
echo account.id="uid $number"
for group in $(id -Gn -- "$account"); do
    echo "account.group=$group"
done
# passwd(1): name, state, last change, least, most days ...
passwd --status "$account" | while read -r _ state _ _ most _; do
    case $state in
    P*) echo account.enabled=yes ;;
    *) echo account.enabled=no ;;
    esac
    case $most in
    -1 | 99999) echo account.expires=never ;;
    *) echo "account.expires=after $most days" ;;
    esac
done
