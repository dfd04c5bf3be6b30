// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"encoding/asn1"
	"math/big"
)

// groupFile has the destination's Diffie-Hellman group. Without it, QEMU 7.2 searches for a
// prime number in object-add, and does not answer its monitor meanwhile: for up to a second,
// and for more than 10 on a loaded host.
const groupFile = "dh-params.pem"

// ffdhe2048 is the prime of the group of that name of RFC 7919, appendix A.1, whose generator is 2.
const ffdhe2048 = "" +
	"FFFFFFFFFFFFFFFFADF85458A2BB4A9AAFDC5620273D3CF1" +
	"D8B9C583CE2D3695A9E13641146433FBCC939DCE249B3EF9" +
	"7D2FE363630C75D8F681B202AEC4617AD3DF1ED5D5FD6561" +
	"2433F51F5F066ED0856365553DED1AF3B557135E7F57C935" +
	"984F0C70E0E68B77E2A689DAF3EFE8721DF158A136ADE735" +
	"30ACCA4F483A797ABC0AB182B324FB61D108A94BB2C8E3FB" +
	"B96ADAB760D7F4681D4F42A3DE394DF4AE56EDE76372BB19" +
	"0B07A7C8EE0A6D709E02FCE1CDF7E2ECC03404CD28342F61" +
	"9172FE9CE98583FF8E4F1232EEF28183C3FE3B1B4C6FAD73" +
	"3BB5FCBC2EC22005C58EF1837D1683B2C6F34A26C1B2EFFA" +
	"886B423861285C97FFFFFFFFFFFFFFFF"

// group is the content of groupFile, in the form of PKCS #3.
func group() []byte {
	prime, _ := new(big.Int).SetString(ffdhe2048, 16)
	parameters, _ := asn1.Marshal(struct{ Prime, Generator *big.Int }{prime, big.NewInt(2)}) // never fails
	return encode("DH PARAMETERS", parameters)
}
