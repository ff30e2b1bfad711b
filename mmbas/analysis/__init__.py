"""Pictures of what the gates do, and the gate report."""

from mmbas.analysis.extreme_macs import draw_extremes, extremes
from mmbas.analysis.gate_profile import GateProfile, profile_gates
from mmbas.analysis.gate_report import DataSetImages, Section, report_sections
from mmbas.analysis.plot_style import is_bgr
from mmbas.analysis.report_page import write_report

__all__ = [
    "DataSetImages",
    "GateProfile",
    "Section",
    "draw_extremes",
    "extremes",
    "is_bgr",
    "profile_gates",
    "report_sections",
    "write_report",
]
