#!/bin/sh
# Joins two network namespaces, A and B, by a pair of interfaces, and gives the one in B a queue discipline.
# usage: PROGRAM A B QDISC...
set -e
a=$1 b=$2
shift 2
ip netns add "$a"
ip netns add "$b"
ip link add uplink0 netns "$a" type veth peer name uplink0 netns "$b"
ip -n "$a" addr add 10.79.0.1/24 dev uplink0
ip -n "$b" addr add 10.79.0.2/24 dev uplink0
for space in "$a" "$b"; do
  ip -n "$space" link set lo up
  ip -n "$space" link set uplink0 up
done
tc -n "$b" qdisc add dev uplink0 root "$@"
