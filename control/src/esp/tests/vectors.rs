//! Published packets. Those of AES-GCM are of "Test Cases for the use of GCM and GMAC in IPsec ESP" (draft-mcgrew-gcm-test-01, section 4,
//! by the author of RFC 4106, which has none itself); that of ChaCha20-Poly1305 is appendix A of RFC 7634.

use super::*;
use crate::esp::{cipher::Cipher, layout::associated};

struct Vector {
    suite: Suite,
    /// Cipher key, then salt.
    key: &'static str,
    spi: u32,
    sequence: u64,
    /// Payload, padding and trailer.
    plain: &'static str,
    /// From the SPI to the ICV.
    packet: &'static str,
}

/// Those with extended sequence numbers.
const EXTENDED: [Vector; 4] = [
    Vector {
        suite: Suite::AesGcm128,
        key: "4c80cdefbb5d10da906ac73c3613a6342e443b68",
        spi: 0x4321,
        sequence: 0x8765_4321_0000_0000,
        plain: "45000048699a000080114db7c0a80102c0a801010a9bf15638d3010000010000\
                00000000045f736970045f756470037369700963796265726369747902646b00\
                0021000101020201",
        packet: "00004321000000004956ed7e3b244cfe\
                 fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34\
                 cfa2436f14a3f3cf65925bf1f4a13c5d15b21e1884f5ff6247aeabb786b93bce\
                 61bc17d768fd9732459018148f6cbe722fd04796562dfdb4",
    },
    Vector {
        suite: Suite::AesGcm128,
        key: "abbccddef00112233445566778899aabdecaf888",
        spi: 0x100,
        sequence: 1,
        plain: "4500004933ba00007f119106c3fb1d10c2b1d326c02831ce0035dd7b800302d5\
                00004e20001e8c18d75b81dc91baa0476b91b924b280389d92c963bac046ec95\
                9b6266c04722b14923010101",
        packet: "0000010000000001cafedebaceface74\
                 18a6fd42f72cbf4ab2a2ea901f73d814e3e7f243d95412e1c349c1d2fbec168f\
                 9190feebaf2cb01984e65863965d7472b79da345e0e780191f0d2f0e0f496c22\
                 6f2127b27db35724e7845d68651f57e65f354f75ff17015769623436",
    },
    Vector {
        suite: Suite::AesGcm256,
        key: "abbccddef00112233445566778899aababbccddef00112233445566778899aab73616c74",
        spi: 0x1740_5e67,
        sequence: 0x156f_3126_dd0d_b99b,
        plain: "45080028732c00004006e9f90a0106120a01038f06b88023dd6bafbecb712602\
                50101f646d540001",
        packet: "17405e67dd0db99b616e640169766563\
                 f2d69ecdbd5a0d5b8d5ef38bad4da58d1f278fde98ef67549d524a3018d9a57f\
                 f4d3a31ce673119e451626c2415771e3b7eebca614c89b35",
    },
    Vector {
        suite: Suite::AesGcm256,
        key: "6c6567616c697a656d6172696a75616e61616e64646f69746265666f726569617475726e",
        spi: 0x796b_6963,
        sequence: u64::MAX,
        plain: "45000030da3a00008001df3bc0a80005c0a800010800c6cd0200070061626364\
                65666768696a6b6c6d6e6f707172737401020201",
        packet: "796b6963ffffffff333021696765746d\
                 f97ab2aa356d8edce17644ac8c78e25dd24dedbb29ebf1b64a274b39b49c3a86\
                 4cd3d78ca4ae68a32b42458fb57dbe821dcc63b9d0937ba2945f669368661a32\
                 9fb4c053",
    },
];

/// Those with sequence numbers of 32 bits, which Withy does not have: they show key, salt, vector and padding.
const SHORT: [Vector; 2] = [
    Vector {
        suite: Suite::AesGcm256,
        key: "abbccddef00112233445566778899aababbccddef00112233445566778899aab11223344",
        spi: 0x4a2c_bfe3,
        sequence: 2,
        plain: "4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee000000000\
                7002400020bf0000020405b40101040201020201",
        packet: "4a2cbfe3000000020102030405060708\
                 ff425c9b724599df7a3bcd510194e00d6a78107f1b0b1cbf06efae9d65a5d763\
                 748a637985771d347f0545659f14e99def842d8eb335f4eecfdbf831824b4c49\
                 15956c96",
    },
    Vector {
        suite: Suite::ChaCha20Poly1305,
        key: "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3",
        spi: 0x0102_0304,
        sequence: 5,
        plain: "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec10\
                0007362708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223\
                2425262728292a2b2c2d2e2f303132333435363701020204",
        packet: "01020304000000051011121314151617\
                 24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c6\
                 14ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3\
                 cbec163fac469b502773f6fb94e664da9165b82829f641e0\
                 76aaa8266b7fb0f7b11b369907e1ad43",
    },
];

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

impl Vector {
    fn key(&self) -> EspKey {
        EspKey::new(self.suite, hex(self.key)).unwrap()
    }

    /// Checks both directions of the cipher alone.
    fn check(&self, associated: &[u8]) {
        let (packet, plain) = (hex(self.packet), hex(self.plain));
        let iv = packet[8..16].try_into().unwrap();
        let cipher = Cipher::new(&self.key()).unwrap();
        let mut text = plain.clone();
        let icv = cipher.seal(iv, associated, &mut text).unwrap();
        assert_eq!([&text[..], &icv].concat(), packet[16..]);
        let mut sealed = packet[16..].to_vec();
        cipher.open(iv, associated, &mut sealed).unwrap();
        assert_eq!(sealed[..plain.len()], plain);
    }
}

#[test]
fn published_packets_with_extended_numbers_are_authentic() {
    for vector in &EXTENDED {
        vector.check(&associated(vector.spi, vector.sequence));
        let spi = Spi::new(vector.spi).unwrap();
        let opener = Opener::new(FROM, TO, spi, &vector.key(), 64).unwrap();
        opener.resume(vector.sequence - 1);
        let esp = hex(vector.packet);
        let length = u16::try_from(20 + esp.len()).unwrap().to_be_bytes();
        let mut packet = vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, 50, 0, 0];
        packet.extend([FROM.octets(), TO.octets()].concat());
        packet.extend(&esp);
        // Sequence number and ICV are right, so that it comes to light what the drafts' packets say of their content: ICMP.
        assert_eq!(open(&opener, &packet), Err(Refused::NextHeader));
        assert_eq!(open(&opener, &packet), Err(Refused::Replayed));
    }
}

#[test]
fn published_packets_with_short_numbers_have_the_same_ciphertext() {
    for vector in &SHORT {
        let sequence = u32::try_from(vector.sequence).unwrap();
        let associated = [vector.spi.to_be_bytes(), sequence.to_be_bytes()].concat();
        vector.check(&associated);
    }
}
