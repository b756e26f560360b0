def work(rounds):
    total = 0
    for number in range(rounds):
        total += number * number
    return total


while True:
    list(map(work, [1000] * 100))
