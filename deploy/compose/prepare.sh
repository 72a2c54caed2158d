#!/bin/sh
# For compose.yaml: prepare.sh NAME, as in login.example.com. It makes ./nginx.conf for that name around
# ../nginx.conf, and ./secrets: random passwords for the stores and the operator, and empty files for
# what WeChat's console shows. Secrets that are there already stay as they are.
set -eu
name=${1:?"usage: sh prepare.sh login.example.com"}
cd "$(dirname "$0")"
# All of nginx's configuration: its own has room for 512 pages a core, each of which takes two connections. This
# has room for 10,000, in 8 MB.
{
    cat <<'END'
user nginx;
worker_processes auto;
worker_rlimit_nofile 400000;
pid /run/nginx.pid;
events { worker_connections 20000; }
http {
END
    sed -e '1,/^$/d' \
        -e "s/login\.example\.com/$name/g" \
        -e 's/^    server 127\.0\.0\.1:8888 /    server 172.30.88.10:8888 /' \
        -e 's/^    server 127\.0\.0\.1:8889 /    server 172.30.88.11:8888 /' \
        -e "s,/etc/letsencrypt/live/$name/,/etc/nginx/certificates/," \
        -e 's,/var/log/nginx/scanpush.log,/dev/stdout,' \
        -e '/listen \[::\]/d' ../nginx.conf
    echo '}'
} >nginx.conf
mkdir -p secrets
chmod 700 secrets
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
# Readable by the container's user; the folder keeps others on this machine out.
keep() {
    [ -e "secrets/$1" ] || cat >"secrets/$1"
    chmod 444 "secrets/$1"
}
redis=$(random)
mongodb=$(random)
if [ ! -e secrets/redis.conf ] && [ ! -e secrets/mongodb_password ]; then
    printf 'requirepass %s\nmaxmemory-policy noeviction\nappendonly yes\ndir /data\n' "$redis" | keep redis.conf
    printf 'redis://:%s@redis:6379/0' "$redis" | keep redis_url
    printf '%s' "$mongodb" | keep mongodb_password
    printf 'mongodb://scanpush:%s@mongodb:27017/?authSource=admin' "$mongodb" | keep mongodb_url
    random | keep operator_token
fi
for secret in app_secret callback_token encoding_aes_key; do
    keep "$secret" </dev/null
    [ -s "secrets/$secret" ] || echo "fill in secrets/$secret" >&2
done
