//! Damage to files.

use arbitrary::{Result, Unstructured};

const SECTOR_BYTES: usize = 512;

/// What disks, power cuts and cables do.
pub fn damage(file: &mut Vec<u8>, plan: &mut Unstructured<'_>) -> Result<()> {
    if file.is_empty() {
        return Ok(());
    }
    let at = plan.int_in_range(0..=file.len() - 1)?;
    match plan.int_in_range(0..=4)? {
        0 => file.truncate(at),
        1 => file.extend(std::iter::repeat_n(plan.arbitrary::<u8>()?, at)),
        2 => file[at] ^= 1 << plan.int_in_range(0..=7)?,
        3 => {
            // A burst as long as the checksum.
            for (byte, noise) in file[at..].iter_mut().zip(plan.arbitrary::<[u8; 4]>()?) {
                *byte ^= noise;
            }
        }
        _ => {
            let start = at - at % SECTOR_BYTES;
            let end = file.len().min(start + SECTOR_BYTES);
            let lost = if plan.arbitrary()? { 0 } else { 0xff };
            file[start..end].fill(lost);
        }
    }
    Ok(())
}
