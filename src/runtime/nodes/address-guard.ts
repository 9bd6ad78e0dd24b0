import { lookup as dnsLookup, type LookupAddress } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { buildConnector } from 'undici';

/**
 * Keeps flows from reaching the worker's own network (server-side request forgery). The address is checked where
 * the connection is made, and the very address that was checked is connected to: neither a redirect nor a name
 * that resolves differently the second time gets around it. Ranges: IANA's special-purpose registries.
 */
export class BlockedAddressError extends Error {
  override readonly name = 'BlockedAddressError';
}

const REFUSED_IPV4 = [
  '0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24',
  '192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24',
  '224.0.0.0/4', '240.0.0.0/4',
  '168.63.129.16/32', // Azure's metadata service, the one that has a public address
]; // prettier-ignore

/** Those that embed an IPv4 address (compatible, translated, NAT64, Teredo, 6to4) are refused as a whole. */
const REFUSED_IPV6 = [
  '::/96', '::ffff:0:0:0/96', '64:ff9b::/96', '64:ff9b:1::/48', '100::/64', '2001::/32', '2001:db8::/32', '2002::/16',
  '3fff::/20', '5f00::/16', 'fc00::/7', 'fe80::/10', 'fec0::/10', 'ff00::/8',
]; // prettier-ignore

const refused = new BlockList();
for (const range of REFUSED_IPV4) addRange(range, 'ipv4');
for (const range of REFUSED_IPV6) addRange(range, 'ipv6');

function addRange(range: string, family: 'ipv4' | 'ipv6'): void {
  const [network, prefix] = range.split('/') as [string, string];
  refused.addSubnet(network, Number(prefix), family);
}

/** Whether an IP address is one that the public internet can route to. IPv4-mapped IPv6 is judged as IPv4. */
export function isPublicAddress(address: string): boolean {
  const family = isIP(address);
  return family !== 0 && !refused.check(address, family === 4 ? 'ipv4' : 'ipv6');
}

/** Hosts that may be reached though their address is private: `name`, `name:port`, or `*.domain`. */
export function isAllowedHost(allowHosts: readonly string[], host: string, port: string): boolean {
  const name = host.toLowerCase();
  return allowHosts.some((entry) => {
    const allowed = entry.toLowerCase();
    if (allowed.startsWith('*.')) return name.endsWith(allowed.slice(1));
    return allowed === name || allowed === `${name}:${port}`;
  });
}

export type Lookup = typeof dnsLookup;

/** undici's connector with the guard inside. `lookup` is for tests. */
export function guardedConnector(
  allowHosts: readonly string[],
  lookup: Lookup = dnsLookup,
): buildConnector.connector {
  const open = buildConnector({ lookup: lookup as LookupFunction });
  const guarded = buildConnector({ lookup: guardedLookup(lookup) });
  return (options, callback) => {
    const host = options.hostname.replace(/^\[|\]$/g, '');
    const port = options.port || (options.protocol === 'https:' ? '443' : '80');
    if (isAllowedHost(allowHosts, host, port)) return open(options, callback);
    // A literal address is never looked up, so it is checked here.
    if (isIP(host) !== 0 && !isPublicAddress(host)) return callback(refusal(host, host), null);
    return guarded(options, callback);
  };
}

/** Refuses a name as soon as one of its addresses is not public. */
function guardedLookup(lookup: Lookup): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
      if (error !== null) return callback(error, '', 0);
      const inside = addresses.find(({ address }) => !isPublicAddress(address));
      if (inside !== undefined) return callback(refusal(hostname, inside.address), '', 0);
      if (options.all === true) return callback(null, addresses);
      const [first] = addresses;
      return callback(null, first?.address ?? '', first?.family);
    });
  };
}

function refusal(host: string, address: string): BlockedAddressError {
  const of = host === address ? '' : ` of ${host}`;
  return new BlockedAddressError(
    `expected a public address, got ${address}${of}; the operator of the worker can allow the host`,
  );
}
