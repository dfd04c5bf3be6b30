// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"
)

// computation is one whose result is known. All of them are the standard library's,
// which uses the extensions of the instruction set that the CPU has.
type computation struct {
	name    string
	compute func() string
	want    string
}

// computations take some milliseconds each under TCG. What is wanted does not come from
// the CPU at hand: results are the same with and without its extensions, OpenSSL
// gives the same for AES-128, and Python for the digests and the CRC of IEEE 802.3.
var computations = []computation{
	{"AES-128", aesBlocks, "0e0e8cd5efced51df06de97c84bafc29"},
	{"AES-128-GCM", aesGCM, "4138c5fbc338965579b9ebe2ff7a4ba1"},
	{"SHA-256", sha256Sum, "ddbd471b062525017a9c39e4a3d91d8e3a86d7aada693358fd208d0a1ba09161"},
	{"SHA-512", sha512Sum, "59a307243a2b3d965d094bf7942921df9423064fbdc2dbad282dcdae9f00df3cbc57770c7a65a193e014ded1afcb866c96b7b8b5ce087a14eba45239b84252a3"},
	{"CRC-32", crc32Sums, "23699e1b a5f492ef"},
	{"bytes", byteSearch, "96 15877 4865 -1"},
	{"integers", integers, "d6e1eb99d716e46f 319994"},
	{"floating point", floatingPoint, "3fe38c86ceacff21 3fbd542e7947ef57"},
}

// sample is what is computed on: every byte is the one before times 5 plus 1.
var sample = func() []byte {
	b := make([]byte, 16<<10)
	for i := 1; i < len(b); i++ {
		b[i] = b[i-1]*5 + 1 + byte(i>>8)
	}
	return b
}()

// aesBlocks encrypts a block of zeros again and again, and decrypts it.
func aesBlocks() string {
	const times = 2000
	c, err := aes.NewCipher(sample[:16])
	if err != nil {
		return err.Error()
	}
	var block [aes.BlockSize]byte
	for range times {
		c.Encrypt(block[:], block[:])
	}
	encrypted := hex.EncodeToString(block[:])
	for range times {
		c.Decrypt(block[:], block[:])
	}
	if block != [aes.BlockSize]byte{} {
		return fmt.Sprintf("%x decrypted to %x", encrypted, block)
	}
	return encrypted
}

// aesGCM authenticates and encrypts.
func aesGCM() string {
	c, err := aes.NewCipher(sample[:16])
	if err != nil {
		return err.Error()
	}
	gcm, err := cipher.NewGCM(c)
	if err != nil {
		return err.Error()
	}
	sealed := gcm.Seal(nil, sample[:gcm.NonceSize()], sample, nil)
	return hex.EncodeToString(sealed[len(sample):])
}

func sha256Sum() string { return fmt.Sprintf("%x", sha256.Sum256(sample)) }
func sha512Sum() string { return fmt.Sprintf("%x", sha512.Sum512(sample)) }

// crc32Sums is Castagnoli's polynomial, for which SSE4.2 has an instruction, and that
// of IEEE 802.3.
func crc32Sums() string {
	return fmt.Sprintf("%08x %08x", crc32.Checksum(sample, castagnoli), crc32.ChecksumIEEE(sample))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// byteSearch counts, finds and compares bytes, as with vectors.
func byteSearch() string {
	moved := bytes.Clone(sample)
	copy(moved[1:], moved)
	return fmt.Sprint(bytes.Count(sample, []byte{7}), bytes.LastIndexByte(sample, 9), bytes.Index(moved, sample[5000:5040]), bytes.Compare(moved, sample))
}

// integers counts, multiplies and divides.
func integers() string {
	const times = 10000
	x, count := uint64(0x9e3779b97f4a7c15), 0
	for i := range uint64(times) {
		high, low := bits.Mul64(x, x|1)
		quotient, rest := bits.Div64(high%(i+3), low, i+3)
		x = bits.RotateLeft64(quotient^high, int(rest%64)) + rest
		count += bits.OnesCount64(x) + bits.LeadingZeros64(x) - bits.TrailingZeros64(x)
	}
	return fmt.Sprintf("%016x %d", x, count)
}

// floatingPoint follows the logistic map, in which a wrong bit spreads to all others
// within some fifty steps.
func floatingPoint() string {
	const times = 10000
	x, y := 0.3, 0.7
	for range times {
		x = float64(float64(3.99*x) * (1 - x)) // the conversions keep it from being fused
		y = math.FMA(-3.97*y, y, float64(3.97*y))
		x, y = math.Sqrt(float64(x*x)), math.Abs(y)
	}
	return fmt.Sprintf("%016x %016x", math.Float64bits(x), math.Float64bits(y))
}
