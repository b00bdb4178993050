set -e
redis-server --port 0 --unixsocket "$PWD/socket" --appendonly yes --appendfsync always \
    --dir "$PWD" --daemonize no > log &
until redis-cli -s socket ping > /dev/null 2>&1; do sleep 0.05; done
for i in 1 2 3 4 5 6 7 8; do redis-cli -s socket set key$i value > /dev/null; done
redis-cli -s socket bgrewriteaof > /dev/null
while redis-cli -s socket info | grep -q aof_rewrite_in_progress:1; do sleep 0.05; done
redis-cli -s socket save > /dev/null
redis-cli -s socket shutdown || true
wait
