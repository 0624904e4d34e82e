package ima

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// Vectors of single records in hex. Those in little-endian order were checked
// with evmctl 1.4 (ima-evm-utils) in both banks, but for the legacy violation,
// which like the big-endian one follows from the kernel's code alone.
var vectors = map[string]string{
	"A":          "0a00000001fb2f8a6d603fd73992768a0d7275c8adb81fda06000000696d612d6e673f000000280000007368613235363a004509beb0ab401d71fa4a5cd94a55c9a74f13332776ae4019c5bfc4c2005157ff0f000000626f6f745f61676772656761746500",
	"B":          "0a00000080e27be8de132a3dd4a6c1f96aa998b79b30b97c07000000696d612d73696742000000280000007368613235363a0037d2b12d5d9abc2a364ef9448767ee03938e383c0284193477dc7618f4b7c6c20e0000002f7573722f62696e2f626173680000000000",
	"C":          "0a0000007b999f0e64f31cf8384d5dfdf77df2f60235bc2607000000696d612d62756649000000280000007368613235363a00fea4e26faa4a4353a8527d5f1d8d34d587e0f8168439bbe3caa3c375222d0cd80f0000006b65726e656c5f76657273696f6e0006000000362e31322e30",
	"V":          "0a000000000000000000000000000000000000000000000006000000696d612d6e673b000000280000007368613235363a0000000000000000000000000000000000000000000000000000000000000000000b0000002f7661722f6c6f672f7800",
	"D":          "0a00000063c0f4cd348f395d7b9142a579edd0162d5c226a08000000696d612d6e6776323c0000002f0000007665726974793a7368613235363a004c94485e0c21ae6c41ce1dfe7b6bfaceea5ab68e40a2476f50208e526f506080050000002f615f6200",
	"legacy":     "0a00000074aa35a54d266f367d6e99f25f6007029d10442f03000000696d614a0a19218e082a343a1b17e5333409af9d98f0f5070000002f62696e2f6c73",
	"legacyV":    "0a000000000000000000000000000000000000000000000003000000696d6100000000000000000000000000000000000000000a0000002f7661722f6c6f672f78",
	"custom":     "0a000000875db26ff4ede16aba547fa2a4d15e09ad5da95709000000642d6e677c6e2d6e673b000000280000007368613235363a002d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a48810b0000002f7362696e2f696e697400",
	"sha256file": "0a000000df0d45d5119c37df2a6c5e7b15db3f699bc7f2ed27666a0b2a7ee6a02f518c0a06000000696d612d6e673b000000280000007368613235363a002d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a48810b0000002f7362696e2f696e697400",
	"be":         "0000000af4a60009ac14a6e545bc9d10697bbb5fdf2581d500000006696d612d6e670000003b000000287368613235363a002d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a48810000000b2f7362696e2f696e697400",
	"modsig":     "0a000000bdc302b3e4ca9e55f320190c0e26912c4db9166e0a000000696d612d6d6f6473696742000000280000007368613235363a0062c66a7a5dd70c3146618063c344e531e6d4b59e379808443ce962b3abd63c5a060000002f6d2e6b6f00000000000000000000000000",
	"evm":        "0a000000f43a925055f943ccd567cd4d359a70f3a2a7ed630700000065766d2d7369678d000000280000007368613235363a003f79bb7b435b05321651daefd374cdc681dc06faa65e374e38337b88ca046dea030000002f65000200000005020d00000073656375726974792e696d610004000000210000002100000004043f79bb7b435b05321651daefd374cdc681dc06faa65e374e38337b88ca046d040000000000000004000000e803000002000000ed81",
	"kexec":      "0a000000fc179904cf284f6c666990a0a601c0c38d5320f507000000696d612d62756696000000280000007368613235363a002cccc06e0cf58b7d4d13f924d04d031ed467d1c22a2fdbb203e708e7012c1e0e0b0000006b657865635f6c6f616400570000006b657865635f7365676d656e745f73697a653d383139323b696d615f62696e6172795f72756e74696d655f73697a653d343030313b696d615f72756e74696d655f6d6561737572656d656e74735f636f756e743d34323b",
}

// vectorDigests are the SHA-256 template digests of the same records.
var vectorDigests = map[string]string{
	"A":      "bd629dcc8cd609ef12b87ea1651ac93f9559fcb8be3d334bd4dae26efd75ab29",
	"B":      "dfe33e392f2734c89e7362d9f3eb318b6f8080129de41a06ff4b1ab2efb1ca15",
	"C":      "fa9f6ef3c6cdd1040e549be0819c9bf1bbb52c54589c5726423ba065e3a9ffb4",
	"D":      "570641738f38a538514c33a3211676a29c2a846bdcf74dca72c343c33eb4e43a",
	"legacy": "f2fd422bce9d2f61cf2d0355810fc678c7fbbebb90c41dbaf9ff4680bb004759",
	"custom": "df0d45d5119c37df2a6c5e7b15db3f699bc7f2ed27666a0b2a7ee6a02f518c0a",
	"be":     "dc31d4d645e0ad22d651afe1e3d12c51b19051422c7eff085683a138d51b7150",
	"modsig": "8818219ea0281c3b8ca749a6de685158d16cb07a0c7315583794336a1be2bb37",
	"evm":    "cb85c9a987e325a84331f89c22d067e6ecf2545959ed1d360e0ffe825bc49988",
}

// vectorPCRs are PCR 10 after each of A, B, C, V, D, from zero.
var vectorPCRs = map[string][5]string{
	"sha1": {
		"378202e77d168277adbff249e195e4fb3b3fbbba", "b1e0c03b7bd035a51e2bb5b935948b53b43af1a5", "da3a6af3b5ff351964f868b831d247288b04a2a5",
		"6ebf0ef8573fe8c5da17f6397a9f85865816106c", "abf63b9864198bca4be4ecd80c5ad6a75bb9e597",
	},
	"sha256": {
		"7fa67ccfb7b0a42453a8a932dd1a637f4a23925d3eb6045df9a8c4971c3b3c0d", "7aa595681db0458205d9677d0506f0de89dc8a84096f448c8c6aaabb0a7479d9",
		"ee3663ad4fd4ebf40a5bb051c419cbbe920c534ea136489d3fc99a103a82d2f9", "6dd6581d3ce5bf6fc74e2d87e51aabc5cc4915a907c85a554c75cbf8d099bbc9",
		"9f0c69ac46a5fd31e0fa53ebb05644adbfac440f10c64f0cbeb8d3b8c2a98dc2",
	},
	"sha256 padded": {
		"fc5b50059e7cbb34aa1e1aea178e876f7e411a7cef8cf09c8191005f640060d9", "481a23dade276859682e9d5bc6efed526acdce496b130b7e4a66d0f2d976ba33",
		"604c5f0e4c2c7b88ecc1f95fb50ce301340ee9e3bd36f6151f84b779954d1a0c", "be35cbac90e275f168ed9070dd81fde1572e93bc7713584da16c131cae13ff69",
		"63f0035f12ab14e4b624c7708128ed28b60f66461243e5ee424eeb87f1535ac3",
	},
}

// vectorQuotes are pcrDigests, hashed with SHA-256, over PCR 10 after D.
var vectorQuotes = map[string]string{
	"sha256":      "f765623e28f92def98273d1a950756704f23060bafc213b2172308fde6eeeb71",
	"sha1,sha256": "a731ec1e330a14421921ba020f34e2080d92020fa57c5ef0fa1988bc1be1ae07",
}

func vector(t testing.TB, names ...string) []byte {
	t.Helper()
	var list []byte
	for _, n := range names {
		b, err := hex.DecodeString(vectors[n])
		if err != nil || len(b) == 0 {
			t.Fatalf("vector %s: %v", n, err)
		}
		list = append(list, b...)
	}
	return list
}

func vectorFormat(name string) Format {
	f := Format{Bank: SHA1}
	if name == "sha256file" {
		f.Bank = SHA256
	}
	return f
}

func TestVectorDigests(t *testing.T) {
	for name := range vectors {
		rec := readAll(t, vector(t, name), vectorFormat(name))[0]
		if rec.Violation() {
			if got := rec.Sum(SHA256, StyleDigest); !bytes.Equal(got, bytes.Repeat([]byte{0xff}, 32)) {
				t.Errorf("%s: a violation extends %x", name, got)
			}
			continue
		}
		if rec.bank == SHA1 && !bytes.Equal(rec.Sum(SHA1, StyleDigest), rec.Digest) {
			t.Errorf("%s: SHA-1 digest %x, stored %x", name, rec.Sum(SHA1, StyleDigest), rec.Digest)
		}
		if want := vectorDigests[name]; want != "" && hex.EncodeToString(rec.Sum(SHA256, StyleDigest)) != want {
			t.Errorf("%s: SHA-256 digest %x, want %s", name, rec.Sum(SHA256, StyleDigest), want)
		}
	}
}

func TestVectorReplay(t *testing.T) {
	order := []string{"A", "B", "C", "V", "D"}
	for _, row := range []struct {
		name  string
		bank  Bank
		style Style
	}{{"sha1", SHA1, StyleDigest}, {"sha256", SHA256, StyleDigest}, {"sha256 padded", SHA256, StylePadded}} {
		p, err := NewReplayer([]Bank{row.bank}, nil, Styles{row.bank: row.style})
		if err != nil {
			t.Fatal(err)
		}
		for i, rec := range readAll(t, vector(t, order...), Format{Bank: SHA1}) {
			if err := p.Extend(&rec); err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(p.Value(Slot{row.bank, 10})); got != vectorPCRs[row.name][i] {
				t.Errorf("%s after %s: %s, want %s", row.name, order[i], got, vectorPCRs[row.name][i])
			}
		}
	}
	// A violation in padded-ff style differs from padded in its last 12 bytes.
	rec := readAll(t, vector(t, "V"), Format{Bank: SHA1})[0]
	if got := rec.Sum(SHA256, StylePaddedFF); !bytes.Equal(got, bytes.Repeat([]byte{0xff}, 32)) {
		t.Errorf("padded-ff violation extends %x", got)
	}
}
