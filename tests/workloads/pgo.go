// A function that is too large to be inlined, and an interface of which one type is called; what the
// compiler makes of them depends on whether it knows how hot they are.
package main

type hasher interface{ next(x uint32) uint32 }

type fast struct{ seed uint32 }

type slow struct{ seed uint32 }

func (f *fast) next(x uint32) uint32 {
	x ^= f.seed
	x ^= x << 13
	x ^= x >> 17
	x ^= x << 5
	return x * 2654435761
}

func (s *slow) next(x uint32) uint32 {
	return x/3 + s.seed
}

var table [256]uint32

func step(x, kind uint32) uint32 {
	switch kind % 4 {
	case 0:
		x = x*2654435761 ^ table[x>>24]
		x ^= x >> 13
		x += table[x&255]
		x *= 0x85ebca6b
		x ^= x >> 16
	case 1:
		x = (x<<7 | x>>25) + table[x>>8&255]
		x ^= table[x>>16&255]
		x *= 0xc2b2ae35
		x += table[x>>3&255] ^ table[x>>19&255]
	case 2:
		x -= table[x&255] * 3
		x = (x<<11 | x>>21) ^ table[x>>24]
		x += x << 3
		x ^= x >> 5
	default:
		x ^= table[x&255] + table[x>>8&255] + table[x>>16&255]
		x *= 0x1b873593
		table[x>>24] ^= x
	}
	return x
}

//go:noinline
func hot(x uint32, count int, h hasher) uint32 {
	for i := 0; i < count; i++ {
		x = step(x, x>>5)
		x = h.next(x)
	}
	return x
}

var slowly bool

func main() {
	var h hasher = &fast{7}
	if slowly {
		h = &slow{9}
	}
	x := uint32(1)
	for i := 0; i < 2000; i++ {
		x = hot(x, 100000, h)
	}
	println(x)
}
