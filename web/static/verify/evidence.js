// Enrolment evidence: FORMAT.md, section 4.

import { FormatError, Lines, MAX_STRUCTURE, base64Of, binaryString, parseHash } from './text.js';

export const MAX_EVIDENCE = 65536; // bytes; FORMAT.md, section 10
const MAX_CERTIFICATES = 8;
const MAX_CERTIFICATE = 8192; // bytes
const MAX_ACTIVATIONS = 16;

const structure = base64Of(MAX_STRUCTURE);

/**
 * ek is undefined for grade software.
 * @param {Uint8Array} bytes
 * @returns {{ek?: Uint8Array, certificates: Uint8Array[], activations: {credential: Uint8Array, secret: Uint8Array, activated: string}[]}}
 */
export function parseEvidence(bytes) {
  if (bytes.length > MAX_EVIDENCE) throw new FormatError('want at most 65,536 bytes');
  const lines = new Lines(binaryString(bytes));
  lines.take('imaledger/enrolment-evidence/v1');
  const ek = lines.next('ek', (s) => (s === 'none' ? undefined : structure(s)));
  if (!ek) {
    lines.end();
    return { certificates: [], activations: [] };
  }
  const certificates = lines.all('certificate', base64Of(MAX_CERTIFICATE));
  if (certificates.length > MAX_CERTIFICATES) throw new FormatError('want at most 8 certificates');
  const activations = [];
  while (lines.has('credential')) {
    activations.push({
      credential: lines.next('credential', structure),
      secret: lines.next('secret', structure),
      activated: lines.next('activated', parseHash),
    });
  }
  lines.end();
  if (!activations.length || activations.length > MAX_ACTIVATIONS) throw new FormatError('want 1 to 16 activations');
  return { ek, certificates, activations };
}
