// Package ima reads the Linux kernel's IMA measurement list: it parses records
// of every template, replays them onto PCR values, and cuts a list at the
// record up to which a TPM's quote covers it.
//
// A list is what securityfs gives as binary_runtime_measurements, or one of its
// siblings for a bank (…_sha256). Its form is that of ima_measurements_show in
// security/integrity/ima/ima_fs.c:
//
//	u32 PCR | digest | u32 name length | name | u32 data length | data
//
// The digest has the size of the file's bank and no length before it, so a
// reader must know which file it has. Integers have the byte order of the host,
// or are little-endian if it was booted with ima_canonical_fmt.
//
// The package does no I/O of its own, and takes memory for one record at a time.
package ima
