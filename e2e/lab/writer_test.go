package lab

import "testing"

// image is a ring after n records.
func image(n uint64, slots int) []byte {
	b := make([]byte, slots*recordSize)
	for i := uint64(1); i <= n; i++ {
		at := int(i%uint64(slots)) * recordSize
		fill(b[at:at+recordSize], i)
	}
	return b
}

func TestVerifyFindsWhatIsWrong(t *testing.T) {
	const slots = 8
	for _, n := range []uint64{0, 1, 7, 8, 9, 100} {
		if got, err := verify(image(n, slots), slots); err != nil || got != n {
			t.Errorf("after %d records: %d, %v", n, got, err)
		}
	}
	broken := map[string]func([]byte){
		"torn record":    func(b []byte) { fill(b[2*recordSize:2*recordSize+512], 99) },
		"lost record":    func(b []byte) { copy(b[3*recordSize:], image(90, slots)[3*recordSize:4*recordSize]) },
		"foreign bytes":  func(b []byte) { b[5*recordSize+3] ^= 1 },
		"later record":   func(b []byte) { fill(b[4*recordSize:5*recordSize], 200) },
		"record is gone": func(b []byte) { clear(b[recordSize : 2*recordSize]) },
	}
	for name, spoil := range broken {
		b := image(100, slots)
		spoil(b)
		if _, err := verify(b, slots); err == nil {
			t.Errorf("%s was not found", name)
		}
	}
}
