"""The report of a comparison: a page that opens from disk, and its tables as files."""

from deta.studies.report.write import write_report

__all__ = ["write_report"]
