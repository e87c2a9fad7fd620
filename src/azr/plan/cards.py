"""Memory, bandwidth and compute of known accelerators, from the vendors' data sheets, to plan for cards not at hand.

All figures are peaks that no real workload reaches, and were checked in November 2026. Compute is dense bfloat16 with
float32 accumulation, half of what data sheets print with sparsity. The RTX 3090's compute agrees with the ratio of 2 to
plain float32 that NVIDIA's RTX Blackwell whitepaper prints for the RTX 3070 Ti (43.5 and 21.7).
"""

from dataclasses import dataclass

from azr.errors import UserError


@dataclass(frozen=True, slots=True)
class Card:
    """One accelerator."""

    memory: int  # bytes
    bandwidth: float  # bytes per second
    flops: float | None  # bfloat16 operations per second; None if the card has no bfloat16 units
    link: float  # bytes per second and direction to another card of the machine
    source: str  # the vendor's document


PCIE_3, PCIE_4 = 16e9, 32e9
"""Bytes per second and direction of 16 lanes. Cards with NVLink have half of what their data sheets print for both
directions; the RTX 3090's bridge, which joins two cards only, is not counted."""

CARDS = {
    "rtx-3090-24gb": Card(24 * 2**30, 936e9, 71e12, PCIE_4, "NVIDIA Ampere GA102 whitepaper, GeForce RTX 3090"),
    "rtx-4090-24gb": Card(24 * 2**30, 1008e9, 165.2e12, PCIE_4, "NVIDIA Ada architecture whitepaper, GeForce RTX 4090"),
    # "Up to 320 GB/s" at 5001 MHz and 256 bits; the shorter data sheet says 300.
    "t4-16gb": Card(16 * 2**30, 320e9, None, PCIE_3, "NVIDIA T4 product brief"),
    "l4-24gb": Card(24 * 2**30, 300e9, 121e12, PCIE_4, "NVIDIA L4 data sheet"),
    "a10-24gb": Card(24 * 2**30, 600e9, 125e12, PCIE_4, "NVIDIA A10 data sheet"),
    "l40s-48gb": Card(48 * 2**30, 864e9, 362e12, PCIE_4, "NVIDIA L40S data sheet"),
    "a100-40gb": Card(40 * 2**30, 1555e9, 312e12, 300e9, "NVIDIA A100 data sheet, 40 GB SXM"),
    "a100-80gb": Card(80 * 2**30, 2039e9, 312e12, 300e9, "NVIDIA A100 data sheet, 80 GB SXM"),
    "h100-80gb": Card(80 * 2**30, 3350e9, 989e12, 450e9, "NVIDIA H100 data sheet, SXM"),
    "h200-141gb": Card(141 * 10**9, 4800e9, 989e12, 450e9, "NVIDIA H200 data sheet, SXM"),
}


def card(name: str) -> Card:
    """The card of this name; a UserError if it is not in the table."""
    if name not in CARDS:
        raise UserError(f"--gpu {name}: unknown card; known cards are {', '.join(CARDS)}")
    return CARDS[name]
