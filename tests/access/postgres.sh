# PostgreSQL refuses to run as root: the server side runs as user postgres then.
set -e
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
cat > run.sh <<E
set -e
$bin/initdb -D "$PWD/data" -A trust > /dev/null
$bin/pg_ctl -D "$PWD/data" -w -l "$PWD/server.log" -o "-c listen_addresses= -k $PWD" start > /dev/null
$bin/createdb -h "$PWD" bench
$bin/pgbench -h "$PWD" -i -q bench > /dev/null 2>&1
$bin/pgbench -h "$PWD" -c 2 -t 20 bench > /dev/null 2>&1
$bin/psql -h "$PWD" bench -c checkpoint -c 'vacuum full pgbench_tellers' > /dev/null
$bin/pg_ctl -D "$PWD/data" -w -m fast stop > /dev/null
E
if [ "$(id -u)" = 0 ]; then
    chown postgres .
    setpriv --reuid postgres --regid postgres --clear-groups bash run.sh
else
    bash run.sh
fi
