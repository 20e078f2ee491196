// Sign in, and back to where somebody wanted to go: the hash came along.
const form = document.querySelector("form"),
  told = document.querySelector("[role=alert]");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  told.textContent = "";
  try {
    const answer = await fetch("/api/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ name: form.elements.name.value, password: form.elements.password.value }),
    });
    if (answer.ok) {
      location.replace("/" + location.hash);
      return;
    }
    const { detail } = await answer.json();
    told.textContent = typeof detail === "string" ? detail : "name or password makes no sense";
  } catch {
    told.textContent = "the server does not answer";
  }
  form.elements.password.value = "";
  form.elements.password.focus();
});
