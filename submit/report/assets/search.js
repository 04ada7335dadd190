// A photograph dropped on the field is searched for at once.
"use strict";
(() => {
  const field = document.getElementById("drop");
  const input = document.getElementById("photograph");
  const over = (on) => (event) => {
    event.preventDefault();
    field.classList.toggle("over", on);
  };
  field.addEventListener("dragover", over(true));
  field.addEventListener("dragleave", over(false));
  field.addEventListener("drop", (event) => {
    over(false)(event);
    if (!event.dataTransfer.files.length) return;
    input.files = event.dataTransfer.files;
    field.submit();
  });
  input.addEventListener("change", () => field.submit());
})();
