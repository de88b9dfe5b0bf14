"""Opens the ESP packets of a pcap file with the keys of a Wireshark table esp_sa.

Prints source, destination and data of each ping inside a packet whose check value is right.
"""

import csv
import sys

from scapy.layers.inet import ICMP, IP
from scapy.layers.ipsec import ESP, IPSecIntegrityError, SecurityAssociation
from scapy.utils import PcapReader

CIPHERS = {
    "AES-GCM with 16 octet ICV [RFC4106]": "AES-GCM",
    "ChaCha20 with Poly1305 [RFC7634]": "CHACHA20-POLY1305",
}


def associations(path):
    """Reads the table; returns SAs by SPI."""
    with open(path, encoding="ascii") as table:
        rows = list(csv.reader(line for line in table if not line.startswith("#")))
    return {
        int(spi, 16): SecurityAssociation(
            ESP,
            spi=int(spi, 16),
            crypt_algo=CIPHERS[cipher],
            crypt_key=bytes.fromhex(key[2:]),
            crypt_icv_size=16,
            tunnel_header=IP(),
            esn_en=bits == "64-bit",
            esn=int(upper, 16),
        )
        for _, _, _, spi, cipher, key, _, _, bits, upper in rows
    }


def main(table, recorded):
    known = associations(table)
    for frame in PcapReader(recorded):
        association = ESP in frame and known.get(frame[ESP].spi)
        if not association:
            continue
        try:
            inner = association.decrypt(frame[IP])
        except IPSecIntegrityError:
            continue
        if ICMP in inner:
            data = bytes(inner[ICMP].payload).hex()
            print(inner[IP].src, inner[IP].dst, data, sep=";")


main(*sys.argv[1:])
