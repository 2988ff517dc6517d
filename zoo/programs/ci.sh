# A build of forty modules that starts again as soon as it is done. As nice as can be, it is no trouble to others.
# usage: PROGRAM JOBS
mkdir -p tree
for module in $(seq 40); do
  seq 150 | awk -v m="$module" '{
    printf "double curve_%d_%d(const double *x, int n) {\n  double s = %d;\n", m, $1, $1
    printf "  for (int i = 1; i < n; i++) s += x[i] * x[i - 1] / (s + %d.5) - (x[i] > s ? x[i] : s);\n  return s;\n}\n", $1
  }' >"tree/module$module.c"
done
while :; do
  rm -f tree/*.o
  seq 40 | xargs -P "$1" -I N cc -O2 -c tree/moduleN.c -o tree/moduleN.o
done
