// Before anything is painted: the chosen theme, if one was chosen.
"use strict";
try {
  const theme = localStorage.getItem("report-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch (refused) {
  // a browser that keeps nothing for pages from disk: the system's theme it is
}
