"""The explorer: exact fields of points, side by side in a browser, as one HTML file.

The page computes everything itself from the numbers that are written into it, and asks nothing of
any other place.

>>> from diffode.explore import explorer_page
>>> page = explorer_page()
>>> page.count("</script>")
4
"""

from diffode.explore.page import explorer_page

__all__ = ["explorer_page"]
