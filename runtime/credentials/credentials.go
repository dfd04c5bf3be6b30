// SPDX-License-Identifier: Apache-2.0

// Package credentials makes the TLS credentials of a migration: what QEMU's objects
// tls-creds-x509 and tls-creds-psk of both ends read. They are of one migration; nobody
// else trusts them.
package credentials

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// Files are the files of an end by their names in the object's folder (its property dir).
type Files map[string][]byte

// How long before and after now certificates are valid, by the hosts' clocks.
const (
	validBefore = 24 * time.Hour
	validAfter  = 7 * 24 * time.Hour
)

// X509 makes a certificate authority, a certificate of the destination (server) for name,
// a host name or an IP address, and one of the source (client). Each end gets its own key
// only; that of the authority is discarded.
func X509(now time.Time, name string) (server, client Files, err error) {
	authority, key, err := newAuthority(now)
	if err != nil {
		return nil, nil, err
	}
	trusted := encode("CERTIFICATE", authority.Raw)
	if server, err = issue(now, authority, key, "server", name, x509.ExtKeyUsageServerAuth); err != nil {
		return nil, nil, err
	}
	if client, err = issue(now, authority, key, "client", "mhmig", x509.ExtKeyUsageClientAuth); err != nil {
		return nil, nil, err
	}
	server["ca-cert.pem"], client["ca-cert.pem"] = trusted, trusted
	server[groupFile] = group()
	return server, client, nil
}

func newAuthority(now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := newTemplate(now, "mhmig: authority of one migration")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	text, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	authority, err := x509.ParseCertificate(text)
	return authority, key, err
}

// issue makes the files of the certificate of an end, server or client.
func issue(now time.Time, authority *x509.Certificate, signer *ecdsa.PrivateKey, end, name string, usage x509.ExtKeyUsage) (Files, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := newTemplate(now, name)
	template.BasicConstraintsValid, template.KeyUsage, template.ExtKeyUsage = true, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{usage}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, authority, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return Files{end + "-cert.pem": encode("CERTIFICATE", certificate), end + "-key.pem": encode("PRIVATE KEY", private)}, nil
}

func newTemplate(now time.Time, name string) *x509.Certificate {
	serial := make([]byte, 16)
	_, _ = rand.Read(serial) // never fails
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-validBefore), NotAfter: now.Add(validAfter),
	}
}

func encode(kind string, data []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data})
}

// PSK makes a key that both ends share, for the user name with which the source presents
// itself.
func PSK(username string) (server, client Files) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	line := fmt.Appendf(nil, "%s:%s\n", username, hex.EncodeToString(key))
	return Files{"keys.psk": line, groupFile: group()}, Files{"keys.psk": line}
}
