# A tariff service in Ruby: one thread a connection looks up a price, while another thread works out tomorrow's prices.
# Models threads that wait for the interpreter's lock, which a computing thread keeps.
# usage: PROGRAM PORT
require 'socket'

prices = Array.new(4000) { |zone| zone * 7 % 997 }
Thread.new do
  Thread.current.name = 'tomorrow'
  loop { prices.map! { |price| (price * 31 + 17) % 65521 } }
end

server = TCPServer.new('127.0.0.1', Integer(ARGV[0]))
loop do
  Thread.new(server.accept) do |visitor|
    while (line = visitor.gets)
      nil until visitor.gets.to_s.strip.empty?
      body = prices[line.size].to_s
      visitor.write("HTTP/1.1 200 OK\r\nContent-Length: #{body.size}\r\n\r\n#{body}")
    end
    visitor.close
  rescue SystemCallError
    nil
  end
end
