"""Puts orders into a queue of RabbitMQ, one after the other.
usage: PROGRAM PORT"""
import sys
import time

import pika

where = pika.ConnectionParameters("127.0.0.1", int(sys.argv[1]), heartbeat=0)
channel = pika.BlockingConnection(where).channel()
channel.queue_declare("orders")
channel.confirm_delivery()
while True:
    channel.basic_publish("", "orders", b"a pair of red shoes" * 20)
    time.sleep(0.002)
