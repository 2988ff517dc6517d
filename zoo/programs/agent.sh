# A monitoring agent: asks for everything there is to know, and again.
while :; do
  ps auxww | grep -c '[n]ginx' >/dev/null
  for pid in $(pgrep nginx); do
    ls /proc/$pid/fd | wc -l >/dev/null
    awk '/VmRSS/ { print $2 }' /proc/$pid/status >/dev/null
  done
  ss -tan | awk '{ print $1 }' | sort | uniq -c >/dev/null
  df -k | tail -n +2 | awk '{ print $5 }' >/dev/null
done
