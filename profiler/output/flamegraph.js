"use strict";
(function () {
    // Where nothing of a name fits, no dots either: towers of them only distract.
    var fit = update_text_for_elements;
    update_text_for_elements = function (elements) {
        fit(elements);
        for (var i = 0; i < elements.length; i++) {
            var text = find_child(elements[i], "text");
            if (text.textContent === "..") text.textContent = "";
        }
    };

    function time(ns) {
        if (ns >= 1e9) return (ns / 1e9).toFixed(2) + " s";
        if (ns >= 1e6) return (ns / 1e6).toFixed(1) + " ms";
        return (ns / 1e3).toFixed(1) + " µs";
    }

    // Beside a frame's share stands the time that it took, where samples stand for a time.
    window.addEventListener("mouseover", function (event) {
        var frame = find_group(event.target);
        if (!frame || !ns_per_sample) return;
        var samples = parseInt(frame.querySelector("rect").getAttribute("fg:w"), 10);
        details.nodeValue += " · " + time(samples * ns_per_sample);
    });
})();
