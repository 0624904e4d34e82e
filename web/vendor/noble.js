// What the verifier uses of noble: what a browser's WebCrypto has not, or has
// only asynchronously.
export { ml_dsa44 } from '@noble/post-quantum/ml-dsa.js';
export { sha384, sha512 } from '@noble/hashes/sha2.js';
export { sha3_256, sha3_384, sha3_512 } from '@noble/hashes/sha3.js';
