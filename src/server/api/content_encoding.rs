//! The content encoding of a request's body: none or gzip.

use std::io::Read;

use axum::http::{HeaderMap, header};
use flate2::bufread::GzDecoder;

use super::body_permits::BodyPermits;
use super::error::{ApiError, shortened};

/// The most bytes that are unpacked at a time: it takes less than a millisecond.
const STEP_BYTES: usize = 64 << 10;

/// The memory of a decoder.
const DECODER_BYTES: usize = 64 << 10;

/// The encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentEncoding {
    Identity,
    Gzip,
}

impl ContentEncoding {
    /// Reads the header.
    ///
    /// # Errors
    /// 415 for another encoding, or for several.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let values = headers.get_all(header::CONTENT_ENCODING).iter();
        let text: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let names = text.iter().flat_map(|text| text.split(',')).map(|name| name.trim().to_ascii_lowercase());
        let names: Vec<String> = names.filter(|name| !name.is_empty() && name != "identity").collect();
        match names.as_slice() {
            [] => Ok(Self::Identity),
            [name] if name == "gzip" || name == "x-gzip" => Ok(Self::Gzip),
            names => Err(ApiError::unsupported_encoding(&shortened(&names.join(", ")))),
        }
    }
}

/// Unpacks a gzip body of any number of members. Every byte has a permit before it is unpacked.
///
/// # Errors
/// 400 if the body is not gzip, 413 if it unpacks to more than `max_bytes`.
pub(super) async fn gunzip(
    packed: &[u8],
    max_bytes: usize,
    permits: &mut BodyPermits<'_>,
) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    let mut rest = packed;
    loop {
        let mut member = GzDecoder::new(rest);
        loop {
            let start = bytes.len();
            permits.reserve(packed.len() + DECODER_BYTES + start + STEP_BYTES).await?;
            bytes.resize(start + STEP_BYTES.min((max_bytes - start).saturating_add(1)), 0);
            let count = member.read(&mut bytes[start..]).map_err(|error| {
                ApiError::bad_request(format!("the body is not gzip, as its content-encoding says: {error}"))
            })?;
            bytes.truncate(start + count);
            if bytes.len() > max_bytes {
                return Err(ApiError::unpacked_too_large(max_bytes));
            }
            if count == 0 {
                break;
            }
        }
        rest = member.into_inner();
        if rest.is_empty() {
            return Ok(bytes);
        }
        // A body may have very many empty members.
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::http::{HeaderMap, HeaderValue};
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tokio::sync::Semaphore;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).expect("written");
        encoder.finish().expect("gzip")
    }

    fn unpack(packed: &[u8], max_bytes: usize) -> Result<Vec<u8>, String> {
        let semaphore = Semaphore::new(1 << 20);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut permits = BodyPermits::new(&semaphore);
        let unpacked = runtime.block_on(gunzip(packed, max_bytes, &mut permits));
        assert!(semaphore.available_permits() < 1 << 20, "unpacking takes permits");
        drop(permits);
        assert_eq!(semaphore.available_permits(), 1 << 20, "all permits come back");
        unpacked.map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn content_encoding_header_accepts_gzip_once_and_identity() {
        let read = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            ContentEncoding::of(&headers).map_err(|error| format!("{error:?}"))
        };
        for none in [&[][..], &[""], &["identity"], &["Identity, identity"], &["identity", ""]] {
            assert_eq!(read(none), Ok(ContentEncoding::Identity), "{none:?}");
        }
        for gzip in [&["gzip"][..], &["GZIP"], &["x-gzip"], &[" identity , gzip "], &["identity", "gzip"]] {
            assert_eq!(read(gzip), Ok(ContentEncoding::Gzip), "{gzip:?}");
        }
        for other in [&["br"][..], &["deflate"], &["gzip, gzip"], &["gzip", "gzip"], &["gzip, br"], &["\"gzip\""]] {
            assert!(read(other).is_err_and(|error| error.contains("415")), "{other:?}");
        }
    }

    #[test]
    fn gzip_body_unpacks_up_to_the_limit_exactly() {
        for size in [0, 1, STEP_BYTES - 1, STEP_BYTES, STEP_BYTES + 1, 200_000] {
            let bytes: Vec<u8> = (0..size).map(|i| (i * i % 251) as u8).collect();
            assert_eq!(unpack(&gzip(&bytes), size).as_ref(), Ok(&bytes), "{size}");
            if size > 0 {
                assert!(unpack(&gzip(&bytes), size - 1).is_err_and(|error| error.contains("413")), "{size}");
            }
        }
        let members = [gzip(b"first "), gzip(b""), gzip(b"second")].concat();
        assert_eq!(unpack(&members, 100), Ok(b"first second".to_vec()));
        assert!(unpack(&gzip(&vec![0; 900_000]), 100_000).is_err_and(|error| error.contains("413")));
    }

    #[test]
    fn damaged_gzip_body_is_rejected() {
        let good = gzip(b"{\"inputs\": \"a\"}");
        let mut checksum = good.clone();
        let at = good.len() - 8;
        checksum[at] ^= 1;
        let garbage = [&good[..], b"garbage"].concat();
        for bad in [b"".as_slice(), b"{}", &good[..good.len() - 1], &good[..12], &checksum, &garbage] {
            assert!(unpack(bad, 1000).is_err_and(|error| error.contains("400")), "{bad:?}");
        }
    }
}
