// Two goroutines that recurse for as much CPU time as they are told.
package main

import (
	"os"
	"strconv"
	"sync"
	"syscall"
)

var sink uint64 = 1

//go:noinline
func spin() {
	x := sink
	for i := 0; i < 200000; i++ {
		x = x*6364136223846793005 + 1442695040888963407
	}
	if x == 0 {
		sink = x
	}
}

//go:noinline
func recurse(depth int) int {
	if depth <= 1 {
		spin()
		return 1
	}
	return recurse(depth-1) + 1
}

func used() float64 {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return float64(usage.Utime.Nano()) / 1e9
}

func work(seconds float64, group *sync.WaitGroup) {
	for used() < seconds {
		recurse(20)
	}
	group.Done()
}

func main() {
	seconds, _ := strconv.ParseFloat(os.Args[1], 64)
	var group sync.WaitGroup
	group.Add(2)
	go work(seconds, &group)
	go work(seconds, &group)
	group.Wait()
}
