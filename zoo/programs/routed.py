# A route planner that keeps every answer it has given, for good, under the exact question.
# Models resident memory that grows steadily; it starts over at 2 GB.
# usage: PROGRAM
import itertools
import time

answers = {}


def plan_route(start, end):
    question = f"{start}:{end}"
    if question not in answers:
        answers[question] = [(start * 7 + end * leg) % 65521 for leg in range(400)]
    return answers[question]


for number in itertools.count():
    plan_route(number * 2654435761 % 100003, number)
    if number % 10 == 9:
        time.sleep(0.005)
    if number == 120_000:
        answers.clear()
