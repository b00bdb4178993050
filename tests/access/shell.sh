set -e
echo a > a; echo b >> a; cat < a > b
exec 5<> c; echo x >&5; exec 5>&-
{ echo 1; echo 2; } > g 2> h
cat <<< hi > k
sed -i s/a/b/ a
sort a b -o s
seq 200000 | sort -S 64k -T . > sorted
tee t1 t2 < sorted > /dev/null
mv sorted r; rm s; truncate -s 100 r
mkdir old; echo f > old/f; mv old new
install -m 644 a installed
awk 'BEGIN { print "x" > "awk-out" }'
perl -e 'open F, ">perl-out"; print F 1; close F; open F, "+<perl-out"; print F 2'
gzip -k a; gunzip -c a.gz > gunzipped
split -b 1 a split-
find . -name 'split-*' -exec cp {} found \;
xargs -n1 touch <<< "x1 x2"
ls > ls-out
(trap '' TERM; echo late > late) &
wait
