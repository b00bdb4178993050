set -e
export HOME=$PWD GIT_CONFIG_NOSYSTEM=1
git init -q source
cd source
git config user.email a@example.org
git config user.name a
for i in $(seq 40); do echo $i > file$i; done
git add .
git commit -qm one
echo changed >> file1
git commit -qam two
cd ..
git clone -q source clone
git clone -q --no-hardlinks "file://$PWD/source" far
cd clone
git gc -q
git repack -adq
git checkout -q -b branch
echo z > file2
git stash -q
git stash pop -q
