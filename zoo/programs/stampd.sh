# Puts the time before each line of a log.
# usage: PROGRAM LOG   (lines on standard input)
while read -r line; do
  echo "$(date +%T) $line"
done >"$1"
