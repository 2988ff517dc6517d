# Stores a till's receipts in Redis, each on a connection of its own from the address that the store's firewall knows.
# usage: PROGRAM HOST PORT OWN_ADDRESS
require 'socket'

HOST, PORT, OWN_ADDRESS = ARGV

def store_receipt(number)
  store = TCPSocket.new(HOST, PORT.to_i, OWN_ADDRESS)
  store.write("SETEX receipt:#{number % 1000} 600 #{number * 7 % 10_000}\r\n")
  store.gets
  store.close
end

def store_patiently(number)
  store_receipt(number)
rescue SystemCallError
  sleep 0.02
  retry
end

(0..).each { |number| store_patiently(number) }
