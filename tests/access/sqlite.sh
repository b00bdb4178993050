set -e
sqlite3 delete.db 'create table t(a); insert into t values(1); insert into t values(2)'
sqlite3 wal.db 'pragma journal_mode=wal; create table t(a); insert into t values(1);
                insert into t select a from t; pragma wal_checkpoint' > out
sqlite3 wal.db '.backup backup.db'
sqlite3 delete.db .dump > dump
sqlite3 delete.db vacuum
sqlite3 mapped.db 'pragma mmap_size=1000000; create table t(a); insert into t values(1)' > out2
